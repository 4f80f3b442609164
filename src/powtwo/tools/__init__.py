"""What no stage runs, each started by a task of `inv`; nothing imports it.

Its modules:

    check             is what is committed current: lock, metrics, pages, published runs
    publish           the run in the work tree, copied to `results/NAME/`
    published         runs read back; the rules for the seeds of a recipe
    presets           overlays on `params.yaml`
    docs              the generated tables of README and docs
    evaluate_network  an integer network's file on test images
    export_network    an integer network's file, exported
    torchvision_import  torchvision where its compiled operators are missing
    layers            the float network's layers: shapes, parameters, MACs, bytes
    exports           every file of `exports/` run against its network
"""
