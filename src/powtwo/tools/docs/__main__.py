"""Write the figures that README and docs show, from the files that hold them. No stage."""

from powtwo.tools.docs import (
    ablation,
    energy_page,
    loading,
    markdown,
    readme,
    speed,
)


def main() -> None:
    """Bring every generated passage up to date."""
    for name, text in energy_page.passages().items():
        markdown.update(energy_page.PAGE, name, text)
    markdown.update(
        ablation.PAGE, "ablation", ablation.table(ablation.with_published(ablation.read()))
    )
    markdown.update(loading.PAGE, "loading", loading.table(loading.read()))
    markdown.update(speed.PAGE, "speed", speed.table(speed.read()))
    markdown.update(readme.PAGE, "headline", readme.headline())
    markdown.update(readme.PAGE, "schemes", readme.published_schemes())
    markdown.update(readme.PAGE, "results", readme.results())


if __name__ == "__main__":
    main()
