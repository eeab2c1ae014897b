"""Fits a head to labelled clips: chooses the features by cross-validation, and says how good it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hmdb.clips.clip import ClipSpec
from hmdb.teaching.features import ASSEMBLIES, NONE, ClipFeatures, assemble, check_clips
from hmdb.teaching.head import Backbone, TaughtHead
from hmdb.teaching.lda import Span, fit_lda
from hmdb.teaching.rejection import StrangerDetector, fit_coefficients, raw_scores
from hmdb.teaching.validation import (
    LeftOut,
    Validation,
    find_problem,
    fit_temperature,
    groups_of,
    leave_groups_out,
    mirrored_features,
)

SIDED = re.compile(r"left|right|clockwise|east|west", re.IGNORECASE)  # names of actions whose mirror image is another
UNTESTED = ("halves", 10.0)  # features and temperature where there are too few clips to choose them


@dataclass(frozen=True, kw_only=True, eq=False)
class Taught:
    """A head and how it was made.

    Attributes:
        head: the classifier.
        validation: what it may be expected to do.
        clips: the features that it was fitted to, to add to or take away from.
        mirrored: True if it was fitted to mirrored copies too.
    """

    head: TaughtHead
    validation: Validation
    clips: tuple[ClipFeatures, ...]
    mirrored: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class _Candidate:
    """One way to make features, with what it gives for clips left out."""

    assembly: str
    mirror: bool
    out: LeftOut
    right: int
    temperature: float
    loss: float


def fit(clips: Sequence[ClipFeatures], backbone: Backbone, clip_spec: ClipSpec) -> Taught:
    """Fits a head.

    Args:
        clips: at least one of each of two actions; those labelled `hmdb.teaching.features.NONE` are negatives.
            Mirrored copies are used if every clip has one, no action is named after a side, and they do not lower the
            accuracy.
        backbone, clip_spec: the network that computed the features, and the frame sampling.

    Raises:
        DataError: as for `hmdb.teaching.features.check_clips`.
    """
    labels = check_clips(clips)
    clips = sorted(clips, key=lambda clip: (clip.label == NONE, clip.label))
    classes = np.array([labels.index(clip.label) if clip.label != NONE else len(labels) for clip in clips])
    mirrors = [True, False] if _may_mirror(clips, labels) else [False]
    problem = find_problem(clips, labels)
    best = None
    if problem is None:
        candidates = [_try(clips, classes, len(labels), each, mirror) for each in ASSEMBLIES for mirror in mirrors]
        best = max(candidates, key=lambda each: (each.right, -each.loss))
    assembly, temperature = (best.assembly, best.temperature) if best else UNTESTED
    mirror = best.mirror if best else mirrors[0]
    weight, bias, means = _fit_all(clips, classes, assembly, mirror=mirror)
    whole_weight, whole_bias, _ = _fit_all(clips, classes, "whole", mirror=mirror)
    number = len(labels)
    validation = Validation(labels=labels, confusions=(), groups=0, problem=problem)
    detector = None
    if best:
        validation, coefficients = _validate(clips, classes, labels, best)
        if coefficients:
            none = (weight[number], float(bias[number])) if len(bias) > number else (np.zeros_like(weight[0]), 0.0)
            detector = StrangerDetector(
                means=means[:number], none_weight=none[0], none_bias=none[1], coefficients=coefficients
            )
    head = TaughtHead(
        labels=labels,
        assembly=assembly,
        weight=weight[:number],
        bias=bias[:number],
        whole_weight=whole_weight[:number],
        whole_bias=whole_bias[:number],
        temperature=temperature,
        detector=detector,
        backbone=backbone,
        clip_spec=clip_spec,
    )
    return Taught(head=head, validation=validation, clips=tuple(clips), mirrored=mirror)


def _may_mirror(clips: Sequence[ClipFeatures], labels: Sequence[str]) -> bool:
    return all(clip.mirrored is not None for clip in clips) and not any(map(SIDED.search, labels))


def _try(clips: Sequence[ClipFeatures], classes: np.ndarray, number: int, assembly: str, mirror: bool) -> _Candidate:
    out = leave_groups_out(clips, classes, number, assembly=assembly, mirror=mirror)
    actions = classes < number
    temperature, loss = fit_temperature(out.logits[actions], classes[actions])
    right = int((out.predicted == classes)[actions].sum())
    return _Candidate(assembly=assembly, mirror=mirror, out=out, right=right, temperature=temperature, loss=loss)


def _fit_all(
    clips: Sequence[ClipFeatures], classes: np.ndarray, assembly: str, *, mirror: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight, bias and means of all classes, float32, fitted to all clips."""
    features = assemble(np.stack([clip.parts for clip in clips]), assembly)
    if mirror:
        features = np.concatenate([features, mirrored_features(clips, assembly)])
        classes = np.tile(classes, 2)
    span = Span.of(features)
    weight, bias = span.lift(*fit_lda(span.project(features), classes, width=features.shape[1]))
    means = np.stack([features[classes == index].mean(axis=0) for index in range(classes.max() + 1)])
    return weight.astype(np.float32), bias.astype(np.float32), means.astype(np.float32)


def _validate(
    clips: Sequence[ClipFeatures], classes: np.ndarray, labels: tuple[str, ...], best: _Candidate
) -> tuple[Validation, tuple[float, float, float, float] | None]:
    """The validation of the chosen features, and the coefficients of the detector of strangers."""
    number = len(labels)
    actions = classes < number
    confusions = np.zeros((number, number), int)
    np.add.at(confusions, (classes[actions], best.out.predicted[actions]), 1)
    right = actions & (best.out.predicted == classes)
    scores = raw_scores(best.out.logits, best.out.distance, best.out.none)
    coefficients = fit_coefficients(scores, right, ~actions)
    validation = Validation(
        labels=labels,
        confusions=tuple(tuple(row) for row in confusions.tolist()),
        groups=len(set(groups_of(clips))),
        problem=None,
    )
    if coefficients is None:
        return validation, None
    kept = scores @ np.array(coefficients[:3]) >= coefficients[3]
    strangers = kept[~actions] if (~actions).any() else _hidden_actions(clips, classes, number, best, coefficients)
    return (
        replace(
            validation,
            strangers_accepted=int(strangers.sum()),
            strangers=len(strangers),
            known_kept=int(kept[right].sum()),
            known=int(right.sum()),
            with_negatives=bool((~actions).any()),
        ),
        coefficients,
    )


def _hidden_actions(
    clips: Sequence[ClipFeatures],
    classes: np.ndarray,
    number: int,
    best: _Candidate,
    coefficients: tuple[float, float, float, float],
) -> np.ndarray:
    """The clips of each action that a head takes for one of the others, which alone it was taught: bool (N,)."""
    if number < 3:
        return np.zeros(0, bool)
    features = assemble(np.stack([clip.parts for clip in clips]), best.assembly)
    accepted = np.zeros(len(clips), bool)
    for hidden in range(number):
        shown = [clip for clip, each in zip(clips, classes, strict=True) if each != hidden]
        packed = np.searchsorted(np.delete(np.arange(number), hidden), classes[classes != hidden])
        weight, bias, means = _fit_all(shown, packed, best.assembly, mirror=best.mirror)
        detector = StrangerDetector(
            means=means, none_weight=np.zeros_like(weight[0]), none_bias=0.0, coefficients=coefficients
        )
        out = features[classes == hidden]
        accepted[classes == hidden] = detector.score(out, out @ weight.T + bias) >= 0
    return accepted
