"""What no stage runs, each started by a task of `inv`; nothing imports it.

Its modules:

    verify            what follows training, run again in a clean copy
    check             is what is committed current: lock, metrics, pages, published runs
    repro             `dvc repro` without hints, and where the report is
    diff              what differs in parameters and metrics, or that nothing does
    status            which stages are not up to date, whether there are other images
    prune             files of removed schemes and of killed stages, removed
    commands          what tasks.py is written with
    no_git            how DVC runs in a copy without Git
    publish           the run in the work tree, copied to `results/NAME/`
    published         runs read back; the rules for the seeds of a recipe
    experiments       runs with other parameters or code, each in a clone of its own
    presets           overlays on `params.yaml`
    docs              the generated tables of README and docs
    evaluate_network  an integer network's file on test images
    export_network    an integer network's file, exported
    torchvision_import  torchvision where its compiled operators are missing
    dvc_lock          dvc.lock, read and after a kill
    layers            the float network's layers: shapes, parameters, MACs, bytes
    search            bits by layer, under an energy budget
    exports           every file of `exports/` run against its network
"""

import sys

if sys.argv[:1] == ["-m"]:  # `python -m` is about to run one of them
    import powtwo.sidecar.from_the_start  # noqa: F401
