// What a shared build of the library shows to programs that link it.
#pragma once

/// Stands before the name of the namespace of each public header: `namespace BERTGEN_PUBLIC bertgen {`. What is
/// declared there is visible in a shared library; the rest of the library is compiled with hidden visibility.
#define BERTGEN_PUBLIC [[gnu::visibility("default")]]
