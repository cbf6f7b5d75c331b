#include "kernels/attention/Attention.h"
using namespace r1c::kernels;
mlir::LogicalResult r1c::kernels::buildAttentionCuda(Kernel &k) {
  return buildAttentionReference(k);
}
mlir::LogicalResult r1c::kernels::buildAttentionBackwardCuda(Kernel &k) {
  return buildAttentionBackwardReference(k);
}
