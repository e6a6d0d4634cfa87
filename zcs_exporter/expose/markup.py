"""HTML that cannot be broken by what it shows: every text is escaped unless it was made here."""

import html


class Markup(str):
    """HTML that is safe as it stands."""

    __slots__ = ()


_VOID = frozenset({"input", "line", "link", "meta", "rect"})


def element(tag: str, *children: str, **attributes: str | float | bool | None) -> Markup:
    """Return an element.

    Args:
        tag: Its name.
        children: Texts, which are escaped, and Markup, which is not.
        attributes: A trailing underscore is dropped and others become hyphens; None and False leave one out.
    """
    pairs = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(str(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _VOID:
        return Markup(f"<{tag}{pairs} />")  # closed, as parts of a drawing must be
    return Markup(f"<{tag}{pairs}>{join(*children)}</{tag}>")


def join(*children: str) -> Markup:
    """Return texts, escaped, and Markup side by side."""
    return Markup("".join(child if isinstance(child, Markup) else html.escape(child) for child in children))
