/* The C interface: one answer, then the two best of four beams with the text as it is generated. */
#include <bertgen/bertgen.h>
#include <stdio.h>

static int print_piece(void* user_data, size_t row, const char* text, size_t length) {
  (void)user_data;
  (void)row;
  fwrite(text, 1, length, stdout);
  return 0; /* go on */
}

int main(int argc, char** argv) {
  const char* directory = argc > 1 ? argv[1] : "examples/fuse-en";
  const char* text = "John lives in Paris. He works for a bank.";
  const char* options = "{\"num_beams\": 4, \"num_return_sequences\": 2}";
  bertgen_model* model = NULL;
  bertgen_session* session = NULL;
  bertgen_output* output = NULL;
  char* answer = NULL;
  char* message = NULL;
  size_t i;

  bertgen_status status = bertgen_model_load(directory, BERTGEN_DTYPE_AUTO, 0, &model, &message);
  if (status == BERTGEN_OK) status = bertgen_session_create(model, 0, &session, &message);

  if (status == BERTGEN_OK) status = bertgen_generate_text(session, text, NULL, &answer, &message);
  if (status == BERTGEN_OK) printf("%s\n", answer);

  if (status == BERTGEN_OK) {
    status = bertgen_generate(session, &text, 1, options, print_piece, NULL, &output, &message);
  }
  for (i = 0; i < bertgen_output_count(output); ++i) {
    printf("\n%.4f %s", bertgen_output_score(output, i), bertgen_output_text(output, i, NULL));
  }
  printf("\n");

  if (status != BERTGEN_OK) {
    fprintf(stderr, "%s: %s\n", bertgen_status_name(status), message != NULL ? message : "no memory");
  }
  bertgen_free(message);
  bertgen_free(answer);
  bertgen_output_free(output);
  bertgen_session_free(session);
  bertgen_model_free(model);
  return status == BERTGEN_OK ? 0 : 1;
}
