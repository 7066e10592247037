"""Runs each model of a folder in onnxruntime and compares its output with what is expected.

Exits with 77 where onnx or onnxruntime is not there."""

import json
import pathlib
import sys

try:
    import numpy as np
    import onnx
    import onnxruntime
except ImportError as error:
    print(error)
    sys.exit(77)

failed = 0
files = sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
for file in files:
    case = json.loads(file.read_text())
    path = str(file.with_suffix(".onnx"))
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        read = {name for node in model.graph.node for name in node.input}
        unused = [tensor.name for tensor in model.graph.initializer if tensor.name not in read]
        assert not unused, f"unused {unused}"
        # Lengths are declared where they matter.
        declared = {value.name for value in model.graph.input}
        left_out = set(case["inputs"]) ^ declared
        assert all(n in case["inputs"] and n.endswith(".lengths") for n in left_out), left_out
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options)
        given = {
            name: np.array(x["values"], dtype=x["type"]).reshape(x["shape"])
            for name, x in case["inputs"].items()
            if name in declared
        }
        (output,) = session.run(None, given)
        expected = np.array(case["output"], dtype=np.float64).reshape(case["shape"])
        assert list(output.shape) == case["shape"], output.shape
        if case["lengths"] is not None:
            for i, length in enumerate(case["lengths"]):
                output[i, length:] = 0
                expected[i, length:] = 0
        difference = np.abs(output - expected) / np.maximum(1, np.abs(expected))
        assert np.isfinite(output).all(), "not finite"
        assert difference.max() <= 1e-5, f"differs by {difference.max()}"
        kinds = sorted({node.op_type for node in model.graph.node})
        print(f"{file.stem}: {difference.max():.1e}, {len(model.graph.node)} nodes: {' '.join(kinds)}")
    except Exception as error:
        failed += 1
        print(f"FAILED {file.stem}: {error}")
print(f"{len(files)} models")
sys.exit(1 if failed else 0)
