"""The prefix of all names that a program sees of an exported network."""

from __future__ import annotations

import re

# https://en.cppreference.com/w/cpp/keyword, C's among them; the header is read as either.
KEYWORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t
    char32_t char8_t class co_await co_return co_yield compl concept const const_cast consteval
    constexpr constinit continue decltype default delete do double dynamic_cast else enum
    explicit export extern false float for friend goto if inline int long mutable namespace new
    noexcept not not_eq nullptr operator or or_eq private protected public register
    reinterpret_cast requires restrict return short signed sizeof static static_assert
    static_cast struct switch template this thread_local throw true try typedef typeid typename
    typeof typeof_unqual union unsigned using virtual void volatile wchar_t while xor xor_eq
"""


def prefix_for(scheme: str, prefix: str | None = None) -> str:
    """Return what the names begin with: the scheme, or a prefix that was given.

    Of schemes, `minmax-round` is `minmax_round`, `8bit` is `net_8bit`.

    Raises:
        ValueError: where the given prefix is no identifier of C and C++.
    """
    if prefix is None:
        name = re.sub(r"[^0-9A-Za-z]", "_", scheme)
        return name if _is_prefix(name) else f"net_{name}"
    if not _is_prefix(prefix):
        raise ValueError(
            f"--prefix = {prefix!r}: must be a C identifier of letters, digits and _ that begins "
            "with a letter, and no keyword; leave it out to have the scheme's name"
        )
    return prefix


def _is_prefix(name: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z][0-9A-Za-z_]*", name)) and name not in KEYWORDS.split()
