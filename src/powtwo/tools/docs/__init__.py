"""The generated tables of README and docs, written by `inv docs` and judged by `inv check`.

Its modules:

    pages            every generated passage, its page and what makes its text
    readme           the headline, and the tables of schemes and of published runs
    ablation         the gain of each choice of a recipe
    benchmarks       kept runs of `inv bench train`, `load` and `c_size`
    energy_page      docs/energy.md
    markdown         tables, mean ± deviation, text between markers
"""
