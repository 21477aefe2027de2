"""The posts of a small world: the claim that each was made for, when it arrived, and which duplicates are allowed.

This counts the claims itself, so that it does not depend on the fence that it tests.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

import httpx

from api.prediction_log.records import WindowRecord
from evidently_workspace.window import Window


@dataclass(frozen=True)
class Post:
    """A post of one window's snapshot, made for the claim with that number."""

    request: httpx.Request
    key: str
    claim: int


@dataclass
class Posts:
    """The newest claim of each window, and each snapshot that landed: of which claim, and how many there were by then.

    A duplicate is allowed if its claim was no longer the newest when it landed, and no claim was made since.
    That happens in two ways: the lease went to another process while the post was on its way, or the caller stopped
    waiting for the answer, tried again, and the first post landed after that. No look can find what has not landed, so
    these wait for the next run of retention. Everything else was there when the newest claimant looked.
    """

    newest: dict[str, int] = field(default_factory=dict)
    landed: dict[UUID, tuple[int, int]] = field(default_factory=dict)
    unentitled: list[str] = field(default_factory=list)

    def claimed(self, window: WindowRecord) -> None:
        """Note a claim."""
        self.newest[_key(window)] = window.tries

    def of(self, request: httpx.Request, claimed: WindowRecord) -> Post | None:
        """Return the post that this request is, made for that claim, which is to be the newest as it sets out.

        None where nobody ever claimed its window: then somebody else's hand made it.
        """
        key = f"{claimed.model_id}: {json.loads(request.read())['metadata']['window']}"
        if key not in self.newest:
            return None
        if key != _key(claimed) or claimed.tries != self.newest[key]:
            self.unentitled.append(f"{key} is posted for claim {claimed.tries} after claim {self.newest[key]}")
        return Post(request, key, claimed.tries)

    def land(self, post: Post, answer: httpx.Response) -> None:
        """Note what the UI answered to a post that reached it."""
        if answer.is_success:
            self.landed[UUID(answer.json()["snapshot_id"])] = post.claim, self.newest[post.key]

    def forbidden_duplicates(self, window: WindowRecord, snapshots: Iterable[UUID]) -> list[UUID]:
        """Return those of a window's snapshots that are neither the recorded one nor an allowed duplicate."""
        now = self.newest.get(_key(window), 0)
        duplicates = [one for one in snapshots if str(one) != window.snapshot_id]
        return [one for one in duplicates if not self.landed[one][0] < self.landed[one][1] == now]


def _key(window: WindowRecord) -> str:
    return f"{window.model_id}: {Window(window.start, window.end).key}"
