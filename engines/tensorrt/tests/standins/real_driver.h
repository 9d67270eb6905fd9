// The driver of the machine, which the engine has loaded before it runs anything.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include <dlfcn.h>

namespace
{

void* driverFunction(char const* name)
{
    void* library = nullptr;
    for (char const* file : {"libcuda.so", "libcuda.so.1"})
        library = library != nullptr ? library : dlopen(file, RTLD_NOW | RTLD_NOLOAD);
    void* const function = library != nullptr ? dlsym(library, name) : nullptr;
    if (function == nullptr)
        std::fprintf(stderr, "stand-in: the driver has no %s\n", name), std::abort();
    return function;
}

int cuStreamSynchronize(void* stream)
{
    using Function = int (*)(void*);
    static auto const function = reinterpret_cast<Function>(driverFunction("cuStreamSynchronize"));
    return function(stream);
}

int cuMemcpyDtoDAsync_v2(void* to, void const* from, std::size_t bytes, void* stream)
{
    using Function = int (*)(void*, void const*, std::size_t, void*);
    static auto const function = reinterpret_cast<Function>(driverFunction("cuMemcpyDtoDAsync_v2"));
    return function(to, from, bytes, stream);
}

} // namespace
