# `r1c run` refuses every option of the compilation for an artifact, and touches nothing.
import pathlib
import subprocess
import sys

artifact, out = sys.argv[1:]
for option in ["--target=cpu", "--target=h100", "--cpu=native", "--weights=bfloat16", "--chunk-rows=64", "--dump-phases-to=d",
               "--remarks", "--remarks=fuse", "--remarks-to=r.yaml"]:
    result = subprocess.run(["r1c", "run", artifact, "--out", out, option], capture_output=True, text=True)
    name = option.split("=")[0]
    wanted = (f"error: {name} is of the compilation, and {artifact} is compiled already: leave it out, "
              "or give the step file\n")
    assert (result.returncode, result.stderr) == (1, wanted), (option, result.returncode, result.stderr)
    assert not pathlib.Path(out).exists(), option
