"""Energy of one image: operations and memory traffic counted, then priced.

params            the section `energy` of params.yaml
operation_prices  what a multiplication, an addition or a shift costs: prices/*.yaml
memory            bits moved, and what a bit costs: prices/memory/*.yaml
counts            operations of each layer, in FP32 and in integers
gating            what is left where products with a zero operand are skipped
adder_tree        the sums of a layer in a tree of adders
sensitivity       the ratio to FP32 as one assumption varies
metrics           everything that stage energy@S writes about a scheme
"""

from powtwo.core.lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "params": ["Energy"],
        "operation_prices": ["PriceTable", "UnpricedError", "load_price_table"],
        "memory": ["MemoryTable", "load_memory_table", "memory_counts"],
        "counts": ["CONVENTIONS", "OpCounts", "float_counts", "integer_counts", "total_energy"],
        "gating": ["ZeroShares", "gated_energy", "read_shares"],
        "sensitivity": ["sensitivity_rows"],
        "metrics": ["Prices", "assumption_rows", "load_prices", "term_rows", "totals"],
    },
)
