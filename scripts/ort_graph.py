"""A model file in ONNX Runtime's own format (.ort) as an ONNX model, so that inner values can become outputs.

Nodes and initializers are copied one by one, in the order of the file; graphs within nodes are not supported. Reads the
file with the classes that onnxruntime's wheel ships for its tools.
"""

import pathlib
import sys

import onnx
import onnxruntime.tools.ort_format_model
from onnx.helper import make_tensor_value_info

sys.path.append(str(pathlib.Path(onnxruntime.tools.ort_format_model.__file__).parent))
from ort_flatbuffers_py.fbs.InferenceSession import InferenceSession  # noqa: E402
from ort_flatbuffers_py.fbs.TensorTypeAndShape import TensorTypeAndShape  # noqa: E402

KINDS = onnx.AttributeProto


def tensor_of(source, name):
    data = b"" if source.RawDataIsNone() else source.RawDataAsNumpy().tobytes()
    shape = [source.Dims(i) for i in range(source.DimsLength())]
    assert data or 0 in shape, f"{name}: not raw data"
    return onnx.TensorProto(name=name, data_type=source.DataType(), dims=shape, raw_data=data)


def attribute_of(source):
    attribute = onnx.AttributeProto(name=source.Name().decode(), type=source.Type())
    if attribute.type == KINDS.FLOAT:
        attribute.f = source.F()
    elif attribute.type == KINDS.INT:
        attribute.i = source.I()
    elif attribute.type == KINDS.STRING:
        attribute.s = source.S()
    elif attribute.type == KINDS.TENSOR:
        attribute.t.CopyFrom(tensor_of(source.T(), ""))
    elif attribute.type == KINDS.INTS:
        attribute.ints.extend(source.Ints(i) for i in range(source.IntsLength()))
    elif attribute.type == KINDS.FLOATS:
        attribute.floats.extend(source.Floats(i) for i in range(source.FloatsLength()))
    else:
        raise NotImplementedError(f"attribute {attribute.name} has type {KINDS.AttributeType.Name(attribute.type)}")
    return attribute


def element_type(value):
    shape, table = TensorTypeAndShape(), value.Type().Value()
    shape.Init(table.Bytes, table.Pos)
    return shape.ElemType()


def names(count, name):
    return [name(i).decode() for i in range(count)]


def in_order(nodes, known):
    """Nodes after those whose outputs they read; "" is an input that is left out."""
    known, waiting = {"", *known}, list(nodes)
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        assert ready, f"no node can run; the first waits for {set(waiting[0].input) - known}"
        yield from ready
        known.update(name for node in ready for name in node.output)
        waiting = waiting[len(ready):] if ready == waiting[:len(ready)] else [n for n in waiting if n not in ready]


def onnx_model(path):
    source = InferenceSession.GetRootAs(pathlib.Path(path).read_bytes(), 0).Model()
    graph = source.Graph()
    model = onnx.ModelProto(ir_version=source.IrVersion())
    for i in range(source.OpsetImportLength()):
        model.opset_import.add(domain=source.OpsetImport(i).Domain().decode(),
                               version=source.OpsetImport(i).Version())
    for i in range(graph.InitializersLength()):
        model.graph.initializer.append(tensor_of(graph.Initializers(i), graph.Initializers(i).Name().decode()))
    nodes = []
    for i in range(graph.NodesLength()):
        node = graph.Nodes(i)
        nodes.append(onnx.NodeProto(
            name=node.Name().decode(), op_type=node.OpType().decode(), domain=node.Domain().decode(),
            input=names(node.InputsLength(), node.Inputs), output=names(node.OutputsLength(), node.Outputs),
            attribute=[attribute_of(node.Attributes(j)) for j in range(node.AttributesLength())]))
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [name for name in names(graph.InputsLength(), graph.Inputs) if name not in stored]
    for i in range(graph.NodeArgsLength()):
        if (name := graph.NodeArgs(i).Name().decode()) in inputs:
            model.graph.input.append(make_tensor_value_info(name, element_type(graph.NodeArgs(i)), None))
    model.graph.node.extend(in_order(nodes, stored | set(inputs)))
    model.graph.name = "graph"
    return model
