// Zip archives whose members are stored as they are, as torch.save writes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace bertgen {

/// The members of an archive by name. The central directory is checked against the members' own headers: names,
/// sizes, places (64-bit ones included), data descriptors; members must lie apart. Checksums are not compared: that
/// would read gigabytes, and torch may write none. Throws CheckpointError, which names `where`, for all of that and for
/// members that are compressed or encrypted.
std::map<std::string, std::span<const std::byte>, std::less<>> read_zip(std::span<const std::byte> bytes,
                                                                        const std::string& where);

}  // namespace bertgen
