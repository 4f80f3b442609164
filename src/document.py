"""Write the figures that README and docs show, from the files that hold them. No stage."""

from powtwo import ablation, energy_page, markdown, price_table, readme


def main() -> None:
    """Bring every generated passage up to date."""
    working = energy_page.working(energy_page.lab_layers(), price_table.load("lab"))
    markdown.update(energy_page.PAGE, "working", working)
    markdown.update(ablation.PAGE, "ablation", ablation.table(ablation.read()))
    markdown.update(readme.PAGE, "results", readme.results())


if __name__ == "__main__":
    main()
