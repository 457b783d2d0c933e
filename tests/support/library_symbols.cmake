# What the library's objects cannot do: fails if LIBRARY, a static one, calls anything that prints, ends the process or reads the environment, shares
# functions of Eigen with a program, or has data that may change beside what is named here.
execute_process(COMMAND nm --undefined-only ${LIBRARY} OUTPUT_VARIABLE undefined ERROR_QUIET COMMAND_ERROR_IS_FATAL ANY)
set(banned abort exit _exit _Exit quick_exit atexit raise kill signal sigaction __assert_fail getenv secure_getenv setenv putenv environ setlocale
  stdin stdout stderr printf fprintf dprintf vprintf vfprintf puts putchar fputs fputc fwrite perror syslog system popen fork rand srand
  __printf_chk __fprintf_chk __vprintf_chk __vfprintf_chk _ZSt4cout _ZSt4cerr _ZSt4clog _ZNSt8ios_base4InitC1Ev)
foreach(name ${banned})
  if(undefined MATCHES "[Uw] ${name}\n")
    message(SEND_ERROR "expected no use of ${name} in ${LIBRARY}, found one")
  endif()
endforeach()

# Constants that compilers put among data because their type is deduced, what is made once and then only read, and the state that docs/design.md names:
# the instruction set, oneDNN's engine, a counter that tells temporary files apart.
set(known
  all_dtypes metadata_keys names_of_tokenizer_files schedules table weight_files
  "other_keys\\(\\)::keys" "activation_from_name\\(.*\\)::names" "Node::operator\\[\\]\\(.*\\) const::null" "byte_characters.*\\(\\)::characters"
  "bytes_of_characters\\(.*\\)::table" "bertgen_eigen::internal::manage_caching_sizes\\(.*\\)::m_cacheSizes"
  "in_cpu\\(\\)::isas" "StoredTensor::release\\(.*\\) const::page"
  "_ZN7bertgen12_GLOBAL__N_16activeE\\.0" active "engine\\(\\)::instance" "stream\\(\\)::instance" "beside\\(.*\\)::count")
list(JOIN known "|" known)
execute_process(COMMAND objdump -t -C ${LIBRARY} OUTPUT_VARIABLE symbols ERROR_QUIET COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]* O \\.(data|bss|tdata|tbss)[^\n]*" variables "${symbols}")
# A program that is compiled with other flags has other functions of these names, and the linker takes one for both.
if(symbols MATCHES "[^_a-z]Eigen::[^\n]*")
  message(SEND_ERROR "expected no function that a program may have from Eigen, too, found ${CMAKE_MATCH_0}")
endif()
set(seen 0)
foreach(variable ${variables})
  if(variable MATCHES "O \\.data\\.rel\\.ro|DW\\.ref\\.|guard variable for ")
    continue()
  endif()
  math(EXPR seen "${seen} + 1")
  if(NOT variable MATCHES "(^|[ :])(${known})(\\[abi:cxx11\\])?$")
    message(SEND_ERROR "expected no data that may change, found ${variable}")
  endif()
endforeach()
if(seen EQUAL 0)
  message(SEND_ERROR "expected the known variables in ${LIBRARY}, found none")
endif()
