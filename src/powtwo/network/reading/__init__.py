"""Networks of others: a PyTorch function or a float ONNX file becomes layers and their weights.

read             what params.yaml names, read and compared with what its maker's runtime gives
operations       what both front ends make: a list of operations, and how one is refused
opened           which files the user's code opens; those that it does not name are refused
torch_function   what the user's function returns
torch_module     from a PyTorch module to operations, by torch.export
torch_operators  what each ATen operator says
onnx_file        from a float ONNX file to operations
onnx_constants   what depends on constants and on sizes alone, computed
onnx_operators   what each of its operators says
randomized       either with random weights, so that nothing misread can hide
rewrites         operations that others say as well: paddings, biases, shapes
joining          convolutions side by side as one
to_layers        from operations to `Specs` and the weights of `GraphNetwork`
"""
