"""PowTwo: power-of-two quantization, from a float network to integers and shifts.

A package for each stage, and few below them that stages share:

    core         files written whole, parameters read, what a stage does at its start and end
    dataset      the images of a run as one value, pixel normalization, a few chosen of many
    sources      where images come from: mnist5k, CIFAR-10, class folders, archives
    network      the float network: architecture, its layers after folding, its file
    training     the loop, augmentation, schedules, devices, checkpoints, several processes
    integer      the arithmetic that defines what is right; the integer network, its file, shapes
    engine       fast engines, each equal to `integer` in every bit
    conversion   what a scheme may ask for; the calibrated network; from it to integers
    calibration  observers, exponents, equalization, reconstruction, bias correction
    finetuning   training on the integer grid
    evaluation   accuracy, statistics, quality and sensitivity of layers
    energy       operations counted, prices, memory, tables as YAML
    export       C99, ONNX, RTL, course files, golden vectors, manifest
    report       results read back, figures, the page
    sidecar      what stands around a stage and changes no byte: the whole file's check, the log
    tools        what no stage runs: presets, publishing, generated docs, exports verified
    pt2e         the observers in torchao's PT2E flow
"""

import time

__version__ = "0.1.0"
STARTED = time.time()  # seconds; when the first of our modules was imported
