"""ctypes_test.py LIBRARY_DIR MODEL: uses the C interface of an installed shared library from Python, as other languages do."""
import ctypes
import pathlib
import sys

directory, model_path = sys.argv[1:]
library = ctypes.CDLL(str(next(pathlib.Path(directory).rglob("libbertgen.so"))))
assert library.bertgen_abi_version() == 1
library.bertgen_status_name.restype = ctypes.c_char_p
library.bertgen_output_text.restype = ctypes.c_char_p
library.bertgen_output_score.restype = ctypes.c_double
library.bertgen_output_count.restype = ctypes.c_size_t
for function in ("free", "model_free", "session_free", "session_cancel", "session_reset", "output_free", "output_count"):
    getattr(library, "bertgen_" + function).argtypes = [ctypes.c_void_p]
library.bertgen_output_score.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
library.bertgen_output_text.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
OnText = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t)


def call(function, *arguments, expected="ok"):
    message = ctypes.c_char_p()
    status = getattr(library, "bertgen_" + function)(*arguments, ctypes.byref(message))
    name = library.bertgen_status_name(status).decode()
    assert name == expected, (name, message.value)
    text = message.value
    library.bertgen_free(message)
    return text


model, session, output = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
call("model_load", model_path.encode(), 0, ctypes.c_uint(0), ctypes.byref(model))
call("session_create", model, 0, ctypes.byref(session))
library.bertgen_model_free(model)

pieces = []


@OnText
def on_text(user_data, row, text, length):
    pieces.append(text[:length])
    return 0


texts = (ctypes.c_char_p * 1)("John lives in Paris. He works for a bank.".encode())
generate = lambda options, **rest: call("generate", session, texts, ctypes.c_size_t(1), options, on_text, None, ctypes.byref(output), **rest)
generate(b'{"num_beams": 4, "num_return_sequences": 2}')
assert library.bertgen_output_count(output) == 2
best = library.bertgen_output_text(output, 0, None)
assert best.startswith(b"John lives in Paris"), best
assert b"".join(pieces) == best, pieces
assert library.bertgen_output_score(output, 0) >= library.bertgen_output_score(output, 1)
library.bertgen_output_free(output)

assert b"num_beams" in generate(b'{"num_beams": "four"}', expected="config")
library.bertgen_session_cancel(session)
generate(None, expected="cancelled")
library.bertgen_session_reset(session)
generate(None)
library.bertgen_output_free(output)
library.bertgen_session_free(session)
