// TensorRT's headers name only these two types of the CUDA runtime. Used where no CUDA toolkit is installed.
#pragma once

typedef struct CUevent_st* cudaEvent_t;
typedef struct CUstream_st* cudaStream_t;
