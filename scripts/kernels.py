"""Makes engines/tensorrt/kernels/preprocess.ptx with NVRTC 12.6, whose PTX every driver from CUDA 12.6 (JetPack 6) on reads.

    kernels.py write                     replace the file that is embedded in the program
    kernels.py check                     exit code 1 if the file is not what NVRTC makes of the source
    kernels.py compile compute_87 ...    only compile for these, and say what came

NVRTC comes from the package nvidia-cuda-nvrtc-cu12==12.6.85 (scripts/setup.sh installs it); needs no GPU and no driver.
"""

import ctypes
import glob
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.join(ROOT, "engines/tensorrt/kernels/preprocess.cuh")
PTX = os.path.join(ROOT, "engines/tensorrt/kernels/preprocess.ptx")


def library():
    named = os.environ.get("PIXIO_NVRTC")
    folders = [p for p in sys.path if p]
    found = [named] if named else [f for p in folders for f in glob.glob(p + "/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")]
    if not found:
        sys.exit("kernels.py: no libnvrtc.so.12; pip install nvidia-cuda-nvrtc-cu12==12.6.85, or set PIXIO_NVRTC")
    return ctypes.CDLL(found[0])


def compile(nvrtc, architecture):
    """PTX of the source for one architecture, without the comments in which NVRTC names its build."""
    with open(SOURCE, "rb") as file:
        source = file.read()
    program = ctypes.c_void_p()

    def call(name, *arguments):
        status = getattr(nvrtc, name)(*arguments)
        if status == 0:
            return
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        sys.exit(f"kernels.py: {name} for {architecture}: error {status}\n{log.value.decode()}")

    call("nvrtcCreateProgram", ctypes.byref(program), source, b"preprocess.cuh", 0, None, None)
    # --fmad=false: rounding as on the host.
    options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17", b"--fmad=false"]
    call("nvrtcCompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    call("nvrtcGetPTXSize", program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    call("nvrtcGetPTX", program, text)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    lines = [line for line in text.value.decode().splitlines() if not line.startswith("//")]
    return "\n".join(lines).strip() + "\n"


def main(arguments):
    nvrtc = library()
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    if arguments[:1] == ["compile"]:
        for architecture in arguments[1:]:
            ptx = compile(nvrtc, architecture)
            version = next(line for line in ptx.splitlines() if line.startswith(".version"))
            print(f"NVRTC {major.value}.{minor.value} {architecture}: {len(ptx)} bytes, {version}")
        return 0
    if arguments not in (["write"], ["check"]):
        sys.exit(__doc__)
    if (major.value, minor.value) != (12, 6):
        sys.exit(f"kernels.py: expected NVRTC 12.6, got {major.value}.{minor.value}")
    ptx = compile(nvrtc, "compute_75")
    if arguments == ["write"]:
        with open(PTX, "w") as file:
            file.write(ptx)
        return 0
    with open(PTX) as file:
        same = file.read() == ptx
    print("preprocess.ptx is what NVRTC 12.6 makes of preprocess.cuh" if same else "preprocess.ptx is stale: scripts/kernels.py write")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
