#include "bertgen/runtime/scheduler.hpp"

namespace bertgen {

template class BasicScheduler<float>;
template class BasicScheduler<double>;

}  // namespace bertgen
