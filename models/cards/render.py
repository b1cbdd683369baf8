"""Render an artifact's model card from its manifest and measured figures: no number is typed by hand.

References:
    Mitchell et al. (2019), Model Cards for Model Reporting, arXiv:1810.03993.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.cards import audited
from models.expression.prior import CERTAIN_HOME, CERTAIN_SHIFT, CONFIDENT_AT, LOGIT_PRIOR
from models.runtime.manifest import Manifest

_SET_TITLES = {
    "rafdb": "RAF-DB test",
    "ferplus": "FER+ PrivateTest (more than half of ten votes on one of the six)",
    "fer2013": "FER2013 PrivateTest, original labels (noisier than FER+, and in conflict with it)",
    "muxspace": "muxspace (development set for shift, never trained on, noisy labels)",
    "folder": "test folder",
}
_SHORT_TITLES = {
    "rafdb": "RAF-DB",
    "ferplus": "FER+",
    "fer2013": "FER2013, original labels",
    "muxspace": "muxspace",
    "folder": "test folder",
}
_MODEL_TITLES = {"int8": "int8 (shipped)", "float32": "float32", "mini_xception": "mini_XCEPTION (peer)"}


def render_card(manifest: Manifest, figures: Mapping[str, Any]) -> str:
    """Return the card as Markdown.

    Args:
        manifest: the artifact the figures were measured on.
        figures: what `countenance models evaluate` wrote.
    """
    sets = figures["sets"]
    sections = (
        _identity(manifest, figures),
        _data(manifest),
        _accuracy(sets),
        _recalls(sets, manifest.labels),
        _quantisation(sets),
        audited.street(figures["street"], _SHORT_TITLES) if figures.get("street") else None,
        _calibration(manifest, figures),
        audited.selective(sets, _SHORT_TITLES),
        audited.outsiders(figures["outsiders"]) if figures.get("outsiders") else None,
        audited.groups(figures["groups"], figures.get("gaps")) if figures.get("groups") else None,
        audited.parity(figures["parity"]) if figures.get("parity") else None,
        audited.slices(figures["slices"]) if figures.get("slices") else None,
        audited.clips(figures["clips"], _SHORT_TITLES) if figures.get("clips") else None,
        audited.before_after(figures),
        _latency(figures.get("latency")),
        _limits(figures),
        _uses(),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _identity(manifest: Manifest, figures: Mapping[str, Any]) -> str:
    facts = manifest.parameters
    variants = "\n".join(
        f"| `{v.id}` | {v.file} | {v.size_bytes / 1e6:.2f} MB | `{v.sha256[:16]}` |"
        for v in manifest.variants
    )
    limit = figures.get("limited_to")
    quick = (
        f"**A quick look at about {limit} pictures of each set: no figures to publish.**\n\n" if limit else ""
    )
    return f"""# Expression network {manifest.version}

{quick}Reads which of six expressions a face crop shows: {", ".join(manifest.labels)}. It describes what a face *shows*,
never what a person feels.

- Input: one grey {facts["input_side_px"]} px crop, standardised by its own mean and spread; made from the agent's aligned \
{facts["crop_side_px"]} px crop by the one shared definition in `models/expression/preprocessing.py`.
- Output: {_output(manifest)}
- Size: {facts["network_parameters"] / 1e6:.2f} M parameters, {facts["macs"] / 1e6:.1f} M multiply-accumulates; 3x3 and 1x1
  convolutions, ReLU, additions and one average pool.
- Made by: `{manifest.command}`, {manifest.created_utc}. Measured {figures["measured"]}.

| variant | file | size | SHA-256 |
|---|---|---|---|
{variants}"""


def _output(manifest: Manifest) -> str:
    facts = manifest.parameters
    six = f"six logits; one temperature ({facts['temperature']:.3f}) makes them probabilities."
    if manifest.outputs[0].shape[-1] == len(manifest.labels):
        return six
    return (
        f"{six}\n  A seventh, *other*, only marks faces that show none of the six (in scope from "
        f"{facts['in_scope_above']:.3f} on; temperature {facts['scope_temperature']:.3f}); it never changes the six."
    )


def _data(manifest: Manifest) -> str:
    sources = ", ".join(f"{s['name']} ({s['pictures']} pictures)" for s in manifest.sources)
    return f"""## Data, and its terms

Trained on the training splits of {sources}; validated, calibrated and chosen on
{manifest.parameters["validation_pictures"]} pictures held out of training splits. Test splits were never used for either.

**Research and evaluation only until rights are cleared.** {manifest.licence}. A studio that wants to use it
otherwise trains on pictures it has the rights to: the training command accepts any labelled folder."""


def _accuracy(sets: Mapping[str, Any]) -> str:
    rows = []
    for name, entry in sets.items():
        for model, title in _MODEL_TITLES.items():
            if model in entry:
                m = entry[model]
                rows.append(
                    f"| {_SET_TITLES.get(name, name)} | {title} | {m['n']} | {_with_interval(m['accuracy'], m['accuracy_95'])} "
                    f"| {_with_interval(m['macro_recall'], m['macro_recall_95'])} | {m['ece_15']:.3f} |"
                )
    return "\n".join(
        [
            "## Accuracy on single frames",
            "",
            "Six classes, fear left out, no test-time tricks; 95 % intervals (Wilson; bootstrap for the macro recall).",
            "",
            "| test | model | n | accuracy | macro recall | calibration error, 15 bins |",
            "|---|---|---|---|---|---|",
            *rows,
            *_priors_said(sets),
        ]
    )


def _priors_said(sets: Mapping[str, Any]) -> list[str]:
    """Say of the sets that are read at their training shares what they come to with the prior that the file carries."""
    rows = [
        f"{_SHORT_TITLES.get(name, name)} {entry['as_it_comes']['accuracy']:.3f} / {entry['as_it_comes']['macro_recall']:.3f}"
        for name, entry in sets.items()
        if "as_it_comes" in entry
    ]
    if not rows:
        return []
    return [
        "",
        "Sets that the network learned from are read at the shares of their training parts. With the prior that the file carries "
        f"(an audience's), int8, accuracy / macro recall: {'; '.join(rows)}.",
    ]


def _recalls(sets: Mapping[str, Any], labels: Sequence[str]) -> str:
    rows = []
    for name, entry in sets.items():
        shipped = entry["int8"]
        cells = " | ".join(
            "-"
            if shipped["recall"][label] is None
            else _with_interval(shipped["recall"][label], shipped["recall_95"][label])
            for label in labels
        )
        rows.append(f"| {_SET_TITLES.get(name, name)} | {cells} |")
    return "\n".join(
        [
            "## Recall per expression (int8)",
            "",
            f"| test | {' | '.join(labels)} |",
            "|---|" + "---|" * len(labels),
            *rows,
            "",
            *_confusions(sets, labels),
        ]
    ).rstrip()


def _confusions(sets: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for name, entry in sets.items():
        lines += [f"{_SET_TITLES.get(name, name)}, rows are labels, columns predictions:", ""]
        lines += [f"| | {' | '.join(labels)} |", "|---|" + "---|" * len(labels)]
        for label, row in zip(labels, entry["int8"]["confusion"], strict=True):
            lines.append(f"| {label} | {' | '.join(str(cell) for cell in row)} |")
        lines.append("")
    return lines


def _quantisation(sets: Mapping[str, Any]) -> str:
    rows = [
        f"| {_SET_TITLES.get(name, name)} | {loss[0]:+.2f} | {loss[1]:+.2f} to {loss[2]:+.2f} |"
        for name, loss in ((name, entry["int8_loss_points"]) for name, entry in sets.items())
    ]
    return "\n".join(
        [
            "## What int8 costs",
            "",
            "Points of accuracy lost against float32, paired picture by picture.",
            "",
            "| test | lost | 95 % interval |",
            "|---|---|---|",
            *rows,
        ]
    )


def _calibration(manifest: Manifest, figures: Mapping[str, Any]) -> str:
    head = figures["headline"]
    lines = [
        "## Confidence",
        "",
        f"Temperature {manifest.parameters['temperature']:.3f} and the confidence threshold "
        f"{manifest.parameters['confident_above']:.3f} (98 % right on validation) were fixed on validation pictures.",
    ]
    if LOGIT_PRIOR in manifest.parameters:
        shares = ", ".join(
            f"{label} {share:.2f}"
            for label, share in zip(manifest.labels, manifest.parameters[LOGIT_PRIOR], strict=True)
        )
        lines.append(
            f"The logits carry this prior: {shares}. `models predict --prior` puts another in its place."
        )
    if CONFIDENT_AT in manifest.parameters:
        thresholds = "; ".join(f"{n} {v:.3f}" for n, v in manifest.parameters[CONFIDENT_AT].items())
        lines.append(
            f"`models predict` calls an answer certain from these confidences on, by prior: {thresholds}; there "
            f"{CERTAIN_HOME:.0%} of each home set's validation pictures and {CERTAIN_SHIFT:.0%} of muxspace are right."
        )
    if head.get("accuracy_at_threshold") is not None:
        shipped = figures["sets"]["rafdb"]["int8"]
        lines.append(
            f"On RAF-DB test {shipped['coverage_at_threshold']:.1%} of the pictures lie above it, "
            f"{shipped['accuracy_at_threshold']:.1%} of them answered rightly."
        )
    return "\n".join(lines)


def _latency(latency: Mapping[str, Any] | None) -> str:
    if not latency:
        return "## Speed\n\nNot measured in this run."
    titles = {
        "litert_int8": "LiteRT int8",
        "litert_float32": "LiteRT float32",
        "tf_function": "TensorFlow `tf.function`",
    }
    rows = [
        f"| {title} | {latency[key]['median_ms']:.2f} ms | {latency[key]['p10_ms']:.2f} ms |"
        for key, title in titles.items()
    ]
    flags = ", ".join(latency["cpu_flags"]) or "unknown"
    return "\n".join(
        [
            "## Speed",
            "",
            f"One crop, {latency['threads']} thread, {latency['machine']} with {flags}; runtimes interleaved on a shared machine.",
            "",
            "| runtime | median | 10th percentile |",
            "|---|---|---|",
            *rows,
        ]
    )


def _limits(figures: Mapping[str, Any]) -> str:
    not_measured = ["change over time"]
    not_measured += [] if figures.get("parity") else ["accuracy by group of people"]
    not_measured += [] if figures.get("groups") else ["differences between groups of people"]
    not_measured += [] if figures.get("slices") else ["light, blur, face size and head pose"]
    scope = (
        'an "other" logit marks many of them, not all'
        if any(kind.get("auroc_scope") is not None for kind in (figures.get("outsiders") or {}).values())
        else "it will still name one of the six, though mostly not surely enough for an answer"
    )
    return f"""## Limits

- Posed and searched-for web pictures taught it; a viewer's face at rest before a screen is mostly near neutral.
- Disgust is the rarest expression in every set and the least reliable answer, then anger and sadness.
- Fear, contempt and faces that show none of the six are out of scope: {scope}.
- Not measured here: {"; ".join(not_measured)}. Do not compare groups of people with it: they get answers at different
  rates, so a difference between audiences may be one of the network's.
- Labels are what annotators saw. Display rules (who may show what, before whom) differ between cultures, and a still or
  polite face is no missing feeling; agreement with a label is not truth about a person."""


def _uses() -> str:
    return """## Uses

Intended: aggregated, consented audience research on how expressions change while people watch, with each person's
receipt, opt-outs and withdrawal honoured.

Forbidden: in a workplace or in education (EU AI Act, Article 5(1)(f)); decisions about a single person; any medical,
security, hiring, credit or law-enforcement use; inference of emotion, truthfulness, identity or a protected attribute;
any picture of a person who has not consented."""


def _with_interval(value: float, interval: Sequence[float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
