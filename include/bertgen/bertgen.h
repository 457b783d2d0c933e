/** @file
 * The C interface: text or ids in, text and ids out, with a checkpoint of transformers. docs/c.md shows it in use.
 *
 * Conventions:
 *
 * - Errors. What can fail returns a bertgen_status and takes, last, `message`: on failure it is set to what was wrong,
 *   what was expected, what was found and where, to be given to bertgen_free(); on success, and where there was no
 *   memory for a text, to NULL. It may be NULL. Results are set on success alone, to NULL or 0 otherwise. No C++
 *   exception leaves a function, and there is no "last error": the library keeps no state outside its objects.
 * - NULL. A pointer that is NULL where this file does not allow it is an error, BERTGEN_ERROR_ARGUMENT; functions that
 *   cannot fail answer NULL or 0 for it, and the `…_free` functions do nothing.
 * - Ownership. Each object has its own `…_free`; strings and arrays that a function gives through `char**` or
 *   `int32_t**` belong to the caller, who gives them to bertgen_free(). What is returned as `const` belongs to its
 *   object and lives as long.
 * - Strings are UTF-8 and end with a zero byte. Where an answer has a length beside it, bytes of zero may be in it.
 * - Threads. A model may be used by any number of threads at once. A session belongs to one thread at a time, but for
 *   bertgen_session_cancel().
 * - Names in BERTGEN_ABI_VERSION's interface do not change their meaning or their binary form; names may be added. The
 *   values of an enum may become more.
 */
#ifndef BERTGEN_BERTGEN_H
#define BERTGEN_BERTGEN_H

#include <stddef.h>
#include <stdint.h>

/** Shows a name in a shared library. */
#define BERTGEN_API __attribute__((visibility("default")))

/** The version of this interface. It is another one as soon as a program that was compiled with it would not work. */
#define BERTGEN_ABI_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

/** What became of a call. The causes are those of the C++ library's exceptions (bertgen/core/error.hpp). */
typedef enum bertgen_status {
  BERTGEN_OK = 0,
  BERTGEN_ERROR_ARGUMENT = 1,   /**< a value outside what the function accepts: NULL, an id, a length */
  BERTGEN_ERROR_SHAPE = 2,      /**< lists that do not fit together */
  BERTGEN_ERROR_CONFIG = 3,     /**< an option, or a configuration file, that cannot be honoured */
  BERTGEN_ERROR_CHECKPOINT = 4, /**< a weight file that is missing, unreadable or damaged */
  BERTGEN_ERROR_TOKENIZER = 5,  /**< a vocabulary that is missing or damaged, or a text or id that it cannot convert */
  BERTGEN_ERROR_CANCELLED = 6,  /**< bertgen_session_cancel() */
  BERTGEN_ERROR_MEMORY = 7,     /**< no memory; objects are as they were before the call */
  BERTGEN_ERROR_INTERNAL = 8    /**< anything else, such as an exception that a callback threw */
} bertgen_status;

/** The type that a model's products compute in; see docs/numerics.md. */
typedef enum bertgen_dtype {
  BERTGEN_DTYPE_AUTO = 0, /**< float32, and of an int8 checkpoint int8 */
  BERTGEN_DTYPE_F32 = 1,
  BERTGEN_DTYPE_BF16 = 2, /**< bfloat16 */
  BERTGEN_DTYPE_INT8 = 3
} bertgen_dtype;

/** Flag of bertgen_model_load(): copies the weight files, which may then change while the model lives. Without it they
 * are mapped, and must not. */
#define BERTGEN_LOAD_COPY 1u

/** Weights and tokenizers of a checkpoint. Immutable. */
typedef struct bertgen_model bertgen_model;
/** The memory and threads of one caller of a model. */
typedef struct bertgen_session bertgen_session;
/** What bertgen_generate() answered. */
typedef struct bertgen_output bertgen_output;

/** Receives the answer's text as it becomes certain: whole words, which together are the text of the first sequence of
 * that row. Called on the thread of bertgen_generate().
 *
 * @param user_data as given to bertgen_generate()
 * @param row of which source, from 0
 * @param text the next piece, never empty
 * @param length its bytes
 * @return 0 to go on; anything else ends all rows at the next token, with what there is as their answers
 */
typedef int (*bertgen_on_text)(void* user_data, size_t row, const char* text, size_t length);

/** The version of the interface that the library has: BERTGEN_ABI_VERSION of its header. */
BERTGEN_API int bertgen_abi_version(void);
/** The library's version, "MAJOR.MINOR.PATCH". */
BERTGEN_API const char* bertgen_version(void);
/** "ok", "argument", "shape", "config", "checkpoint", "tokenizer", "cancelled", "memory" or "internal" for a
 * bertgen_status; "unknown" for another number. */
BERTGEN_API const char* bertgen_status_name(int status);
/** Gives back a string or an array. NULL is allowed. */
BERTGEN_API void bertgen_free(void* memory);

/** Loads a directory as transformers saves it. One without tokenizer files works with ids alone.
 *
 * @param directory its path
 * @param dtype the type to compute in, a bertgen_dtype
 * @param flags 0 or BERTGEN_LOAD_COPY
 * @param model set to the model, for bertgen_model_free()
 * @return BERTGEN_ERROR_CONFIG, BERTGEN_ERROR_CHECKPOINT or BERTGEN_ERROR_TOKENIZER naming the file
 */
BERTGEN_API bertgen_status bertgen_model_load(const char* directory, int dtype, unsigned int flags,
                                              bertgen_model** model, char** message);
/** Gives a model back. Sessions keep what they need of it. */
BERTGEN_API void bertgen_model_free(bertgen_model* model);
/** What the loader noticed and did without, one a line; empty if nothing. */
BERTGEN_API const char* bertgen_model_warnings(const bertgen_model* model);

/** Ids of a text, as the encoder takes them.
 *
 * @param add_special_tokens 1 puts the model's special tokens around the text, 0 does not; −1 does what
 * bertgen_generate() does: not for BertGeneration models, which were trained without
 * @param ids set to the ids, for bertgen_free(); not NULL even if there are none
 * @param count set to their number
 * @return BERTGEN_ERROR_TOKENIZER for a model without tokenizer and for texts over 32 MiB
 */
BERTGEN_API bertgen_status bertgen_tokenize(const bertgen_model* model, const char* text, int add_special_tokens,
                                            int32_t** ids, size_t* count, char** message);
/** Text of the decoder's ids.
 *
 * @param ids may be NULL if `count` is 0
 * @param skip_special_tokens 0: special tokens are written out
 * @param text set to the text, for bertgen_free()
 * @param length set to its bytes; may be NULL
 * @return BERTGEN_ERROR_TOKENIZER for a model without tokenizer and for ids outside the vocabulary
 */
BERTGEN_API bertgen_status bertgen_detokenize(const bertgen_model* model, const int32_t* ids, size_t count,
                                              int skip_special_tokens, char** text, size_t* length, char** message);

/** Makes a session of a model.
 *
 * @param threads that a call may use, up to 1024; 0: one a physical core. Answers do not depend on it
 * @param session set to the session, for bertgen_session_free()
 */
BERTGEN_API bertgen_status bertgen_session_create(const bertgen_model* model, int threads, bertgen_session** session,
                                                  char** message);
/** Gives a session back. No call may be using it. */
BERTGEN_API void bertgen_session_free(bertgen_session* session);
/** Ends the call that runs, and every later one until bertgen_session_reset(), with BERTGEN_ERROR_CANCELLED: within a
 * layer of the encoder, or a token. Safe to call from any thread. */
BERTGEN_API void bertgen_session_cancel(bertgen_session* session);
/** Lets a session that was cancelled run again. */
BERTGEN_API void bertgen_session_reset(bertgen_session* session);

/** Answers a text with the text of the best sequence: what most programs need.
 *
 * @param text one that has no tokens has an empty answer
 * @param options as of bertgen_generate(), or NULL
 * @param answer set to the text, without special tokens, for bertgen_free()
 * @return as bertgen_generate()
 */
BERTGEN_API bertgen_status bertgen_generate_text(bertgen_session* session, const char* text, const char* options,
                                                 char** answer, char** message);
/** Answers texts, all together. Each answer is the one that its text would get alone.
 *
 * @param texts `count` texts; one that has no tokens has empty answers: the start token alone
 * @param count how many; 0 gives no sequences
 * @param options a JSON object of generation options over the checkpoint's own, such as {"num_beams": 4}, by the names
 * of docs/generation.md; NULL for none
 * @param on_text receives the text while it is generated; NULL for no stream. With a stream and without beams,
 * num_return_sequences must be 1
 * @param user_data handed to on_text
 * @param output set to the sequences, for bertgen_output_free()
 * @return BERTGEN_ERROR_CONFIG for options that are unknown, wrong or contradict each other; BERTGEN_ERROR_ARGUMENT for
 * a text with more tokens than the encoder has positions and for lengths that the decoder has not;
 * BERTGEN_ERROR_TOKENIZER for a model without tokenizer; BERTGEN_ERROR_CANCELLED
 */
BERTGEN_API bertgen_status bertgen_generate(bertgen_session* session, const char* const* texts, size_t count,
                                            const char* options, bertgen_on_text on_text, void* user_data,
                                            bertgen_output** output, char** message);
/** As bertgen_generate(), from ids.
 *
 * @param ids `count` arrays
 * @param lengths the number of ids in each, at least 1
 * @return also BERTGEN_ERROR_ARGUMENT for an id outside the vocabulary. A model without tokenizer is an error
 * only where text is needed: for on_text, or the option stop_strings
 */
BERTGEN_API bertgen_status bertgen_generate_ids(bertgen_session* session, const int32_t* const* ids,
                                                const size_t* lengths, size_t count, const char* options,
                                                bertgen_on_text on_text, void* user_data, bertgen_output** output,
                                                char** message);

/** How many sequences there are: num_return_sequences for each source, best first, in the order of the sources. */
BERTGEN_API size_t bertgen_output_count(const bertgen_output* output);
/** Text of a sequence, without special tokens.
 *
 * @param length set to its bytes; may be NULL
 * @return NULL for a model without tokenizer, and for an index of bertgen_output_count() or more
 */
BERTGEN_API const char* bertgen_output_text(const bertgen_output* output, size_t index, size_t* length);
/** Ids of a sequence as transformers' generate returns them: the start token first, the end token included.
 *
 * @param count set to their number
 * @return NULL for an index of bertgen_output_count() or more
 */
BERTGEN_API const int32_t* bertgen_output_ids(const bertgen_output* output, size_t index, size_t* count);
/** Of beam searches transformers' sequences_scores, otherwise the sum of the chosen tokens' log-probabilities; 0 for an
 * index of bertgen_output_count() or more. */
BERTGEN_API double bertgen_output_score(const bertgen_output* output, size_t index);
/** Options that had no effect, one a line; empty if none. */
BERTGEN_API const char* bertgen_output_warnings(const bertgen_output* output);
/** Gives an output back. */
BERTGEN_API void bertgen_output_free(bertgen_output* output);

/** How probable a target is as the answer to a text. bertgen_session_cancel() does not end it.
 *
 * @param target the text to score, in the decoder's vocabulary
 * @param log_probability set to the sum of its tokens' log-probabilities; by `count` and negated, it is the loss of
 * transformers
 * @param count set to the number of tokens of the target; may be NULL
 * @return BERTGEN_ERROR_ARGUMENT for texts without tokens or with too many; BERTGEN_ERROR_CONFIG where the checkpoint
 * does not say what a decoder starts with; BERTGEN_ERROR_TOKENIZER for a model without tokenizer
 */
BERTGEN_API bertgen_status bertgen_score(bertgen_session* session, const char* text, const char* target,
                                         double* log_probability, size_t* count, char** message);

#ifdef __cplusplus
}
#endif

#endif
