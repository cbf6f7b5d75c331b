"""lsp.py SERVER FILE.mlir: opens a file in a language server, and prints what it is told."""

import json
import subprocess
import sys


def message(method, params, **more):
    text = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more})
    return f"Content-Length: {len(text.encode())}\r\n\r\n{text}"


text = open(sys.argv[2]).read()
document = {"uri": "file:///t.mlir", "languageId": "mlir", "version": 1, "text": text}
session = (
    message("initialize", {"capabilities": {}, "rootUri": "file:///"}, id=1)
    + message("initialized", {})
    + message("textDocument/didOpen", {"textDocument": document})
    + message("shutdown", None, id=2)
    + message("exit", None)
)
done = subprocess.run([sys.argv[1]], input=session, capture_output=True, text=True, timeout=60)
print(done.stdout)
sys.exit(done.returncode)
