"""lit configuration: .mlir, .r1 and .test files under tests/ with RUN lines."""

import os

import lit.formats

config.name = "r1c"
config.test_format = lit.formats.ShTest(execute_external=True)
config.suffixes = [".mlir", ".r1", ".test"]
config.excludes = ["inputs"]
config.test_source_root = os.path.join(config.r1c_source, "tests")
config.test_exec_root = os.path.join(config.r1c_build, "tests", "lit")

tools = [os.path.join(config.r1c_build, "bin"), config.llvm_tools]
config.environment["PATH"] = os.pathsep.join(tools + [os.environ["PATH"]])
config.environment["R1C_SOURCE"] = config.r1c_source
config.substitutions.append(("%examples", os.path.join(config.r1c_source, "examples")))
config.substitutions.append(("%python", "python3"))
config.substitutions.append(("%source", config.r1c_source))
config.substitutions.append(("%build", config.r1c_build))

with open("/proc/cpuinfo") as f:
    if " avx512_bf16" in f.read():
        config.available_features.add("avx512")
