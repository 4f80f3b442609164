"""Bits by layer: the assignment of formats of least predicted loss under an energy budget.

Its modules:

    run         `inv search SCHEME`: measures, solves, measures what it found, writes it down
    candidates  which formats each layer may have, from words or a file
    measure     one scheme: calibrated, converted, run on validation images; kept by a digest
    assign      every assignment of least energy for its predicted loss, by dynamic programming
    results     tables, and the scheme as params.yaml has it

The model is additive: what a format of one layer alone adds to the loss of the scheme is measured,
and the sum over the layers predicts the loss of an assignment. What is chosen is measured again.

Sources:
1. Relative entropy of a layer alone as its sensitivity, added over the layers, and the Pareto front
   of the sums by dynamic programming: Cai et al. 2020 (ZeroQ), https://arxiv.org/abs/2001.00281,
   §3.2
"""
