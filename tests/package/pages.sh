#!/bin/sh
# pages.sh SOURCE BUILD PREFIX WORK: runs the shell blocks of README.md and docs/, those of a page in turn and in one folder, where what pages
# name is there: build/, examples/, app/, the checkpoints DIR and BERT, lines.txt, and the library installed in PREFIX for pkg-config. A text
# block is what the block before it must print. Not run here is what starts with tools/: .ci/run does.
set -eu
source=$1 build=$2 prefix=$3 work=$4
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name bertgen.pc)")
LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH")
export PKG_CONFIG_PATH LD_LIBRARY_PATH
rm -rf "$work"
ran=0
for page in "$source/README.md" "$source"/docs/*.md; do
  name=$(basename "$page" .md)
  folder=$work/$name blocks=$work/$name.blocks
  mkdir -p "$folder/app" "$folder/BERT" "$blocks"
  ln -s "$build" "$folder/build"
  ln -s "$source/examples" "$folder/examples"
  ln -s "$source/examples/fuse-en" "$folder/DIR"
  cp "$source"/tests/data/models/warm-start/config.json "$source"/tests/data/models/warm-start/model.safetensors "$folder/BERT/"
  printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' > "$folder/BERT/vocab.txt"
  cp "$source/tests/package/app/CMakeLists.txt" "$folder/app/"
  cp "$source/examples/readme.cpp" "$folder/app/main.cpp"
  printf 'John lives in Paris. He works for a bank.\n' > "$folder/lines.txt"
  awk -v blocks="$blocks" '
    /^ *```/ {
      inside = !inside
      language = substr($0, index($0, "```") + 3)
      if (inside && language == "sh") ++number
      file = language == "sh" || language == "text" ? sprintf("%s/%02d.%s", blocks, number, language) : ""
      next
    }
    inside && file != "" { if (language == "text" || $0 !~ /^ *tools\//) print > file }' "$page"
  for block in "$blocks"/*.sh; do
    [ -e "$block" ] || continue
    printed=${block%.sh}.printed
    (cd "$folder" && sh -eu "$block") > "$printed" || { echo "$name: expected status 0 of" && cat "$block" && exit 1; }
    ran=$((ran + 1))
  done
  for text in "$blocks"/*.text; do
    [ ! -e "$text" ] || diff "${text%.text}.printed" "$text" || { echo "$name: printed other lines than $text" && exit 1; }
  done
done
[ "$ran" -ge 5 ]  # else they were not found
