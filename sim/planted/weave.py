"""Many patches in one build: what one changes becomes an arm of a `match` on a number.

A compiler run for each of many patches takes longer than simulating them. A patch that changes nothing but
the bodies of functions can share a build with others: every function that some change becomes a `match`, with
an arm for each of these patches and the function itself as the last one. A process is told its number in
SLUICE_PLANTED; without one it has no bug.
"""

import re

SWITCH = """//! Which bug this process has: the number in SLUICE_PLANTED; 0 is none.
pub(crate) fn number() -> u32 {
    static NUMBER: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {
        std::env::var("SLUICE_PLANTED").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    });
    *NUMBER
}
"""

HEAD = re.compile(r"^( *)(?:pub(?:\([a-z]+\))? )?(?:const )?(?:async )?fn \w+")


def functions(text):
    """The outermost functions as formatted by rustfmt: (head, body) each, and what is around them."""
    lines = text.split("\n")
    around, found, at = [], [], 0
    while at < len(lines):
        head = HEAD.match(lines[at])
        if not head:
            around.append(lines[at])
            at += 1
            continue
        opening = at
        while not lines[opening].endswith(("{", "}", ";")):
            opening += 1
        if not lines[opening].endswith("{"):
            # All in one line, or without a body.
            around.extend(lines[at : opening + 1])
            at = opening + 1
            continue
        closing = opening + 1
        while lines[closing] != head[1] + "}":
            closing += 1
        around.append(None)
        found.append(("\n".join(lines[at : opening + 1])[:-1], "\n".join(["{", *lines[opening + 1 : closing + 1]])))
        at = closing + 1
    return around, found


def weavable(before, after):
    """Whether nothing but bodies of functions differs."""
    (around, old), (around_new, new) = functions(before), functions(after)
    return around == around_new and [head for head, _ in old] == [head for head, _ in new]


def weave(before, changed):
    """The file with all its changes, which are (number, changed file)."""
    around, found = functions(before)
    others = [(number, functions(text)[1]) for number, text in changed]
    lines, index = [], 0
    for line in around:
        if line is not None:
            lines.append(line)
            continue
        head, body = found[index]
        arms = [(number, other[index][1]) for number, other in others if other[index][1] != body]
        if arms:
            arms = "".join(f"{number} => {arm}\n" for number, arm in arms)
            head = re.sub(r"\bconst fn\b", "fn", head)
            body = f"{{ match crate::planted::number() {{\n{arms}_ => {body}\n}} }}"
        lines.append(head + body)
        index += 1
    return "\n".join(lines)
