"""Which base a job goes to: the one that its caller names, or the one that its LoRAs were made for.

Among several, the deployment's default comes first. Owns the refusals about bases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from api.jobs.roster import Roster
from api.wire.errors import InvalidFields
from api.wire.problems import FieldProblem
from api.wire.sentence import Sentence
from shared.errors import LoraBaseMismatch, LoraNotFound, LoraQuarantined, RetouchError
from shared.ledger.roster import ServedBase
from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry, LoraState
from shared.loras.prompt_tags import take_tags
from shared.messages import Language
from shared.params import Elsewhere, JobParams, LoraMode, LoraRef

# LoRAs of other bases that a worker may choose among.
MOST_ELSEWHERE = 16


@dataclass(frozen=True)
class Route:
    """A base, the entries of the LoRAs that the job names, which fit it, and the other bases that
    it may still go to.
    """

    base: ServedBase
    entries: list[LoraEntry]
    others: tuple[ServedBase, ...] = ()


class Routing:
    """Safe to share between threads."""

    def __init__(self, roster: Roster, catalog: Catalog) -> None:
        self._roster = roster
        self._catalog = catalog

    def route(self, params: JobParams, language: Language) -> Route:
        """The base and LoRAs of a job. Raises InvalidFields for a base that is not served,
        LoraNotFound, LoraBaseMismatch and LoraQuarantined.
        """
        bases = self._bases(params, language)
        routes, refusals = list[Route](), list[RetouchError]()
        for base in bases:
            try:
                routes.append(Route(base, [self._entry(ref.name, base) for ref in params.loras]))
            except (LoraNotFound, LoraBaseMismatch, LoraQuarantined) as error:
                refusals.append(error)
        if not routes:
            raise self._of_several_families(params, bases) or self._refusal(params, bases)
        best = max(routes, key=lambda route: self._fitness(params, route.base))
        others = tuple(route.base for route in routes if route.base.family != best.base.family)
        return replace(best, others=others)

    def elsewhere(self, route: Route) -> list[Elsewhere]:
        """What the LoRAs of other bases treat, for a job whose LoRA a worker chooses."""
        first = {base.family: base for base in reversed(route.others)}
        found = [
            Elsewhere(
                base=first[entry.base].name,
                treats=list(entry.treats),
                lora=LoraRef(name=entry.name, scale=entry.default_scale, sha256=entry.sha256),
                strength=entry.strength,
            )
            for entry in self._catalog.entries()
            if entry.state is LoraState.AVAILABLE and entry.treats and entry.base in first
        ]
        return found[:MOST_ELSEWHERE]

    def _bases(self, params: JobParams, language: Language) -> list[ServedBase]:
        if params.base is None:
            return self._roster.candidates()
        found = self._roster.find(params.base)
        if not found:
            raise InvalidFields([_not_served(self._roster.served(), language)])
        return found

    def _entry(self, name: str, base: ServedBase) -> LoraEntry:
        return self._catalog.resolve(name, base.family)

    def _fitness(self, params: JobParams, base: ServedBase) -> int:
        """Of bases that suit the named LoRAs equally: how many LoRAs in the prompt they can use, or
        whether any of theirs treats damage when the choice is automatic. The first of equals wins.
        """
        _, tags = take_tags(params.prompt or "")
        used = sum(self._is_usable(tag.name, base) for tag in tags)
        is_auto = params.lora_mode is LoraMode.AUTO
        return used + (is_auto and self._treats_something(base.family))

    def _is_usable(self, name: str, base: ServedBase) -> bool:
        entry = self._catalog.find(name, base.family)
        return (
            entry is not None and entry.state is LoraState.AVAILABLE and entry.base == base.family
        )

    def _treats_something(self, family: str) -> bool:
        entries = self._catalog.entries()
        available = (entry for entry in entries if entry.state is LoraState.AVAILABLE)
        return any(entry.base == family and entry.treats for entry in available)

    def _refusal(self, params: JobParams, bases: Sequence[ServedBase]) -> RetouchError:
        """The refusal of the first LoRA that no base can use, in both languages."""
        family = bases[0].family if len({base.family for base in bases}) == 1 else None
        for ref in params.loras:
            try:
                self._catalog.resolve(ref.name, family)
            except (LoraNotFound, LoraBaseMismatch, LoraQuarantined) as error:
                return type(error)(
                    Sentence(str(error), self._catalog.explain(ref.name, "zh", family))
                )
        raise AssertionError("every LoRA fits some base")

    def _of_several_families(
        self, params: JobParams, bases: Sequence[ServedBase]
    ) -> RetouchError | None:
        """The refusal of LoRAs of which each fits a base, but not all of them the same."""
        made_for = list[tuple[str, ServedBase]]()
        for ref in params.loras:
            fitting = [base for base in bases if self._is_usable(ref.name, base)]
            if not fitting:
                return None
            made_for.append((ref.name, fitting[0]))
        english = ", ".join(f"'{name}' is for {base.base.label}" for name, base in made_for)
        chinese = "，".join(f"“{name}”用于 {base.base.label}" for name, base in made_for)
        return LoraBaseMismatch(
            Sentence(
                f"The LoRAs of one job must fit one base: {english}. Send a job for each.",
                f"同一任务的 LoRA 必须适用于同一个基础模型：{chinese}。请分别提交。",
            )
        )


def _not_served(served: Sequence[ServedBase], language: Language) -> FieldProblem:
    names = ", ".join(base.name for base in served)
    detail = {
        "en": f"is not served now; {f'served are {names}' if names else 'no worker is running'}",
        "zh": f"目前没有工作进程提供；{f'可用：{names}' if names else '没有工作进程在运行'}",
    }
    return FieldProblem(pointer="/base", detail=detail[language])
