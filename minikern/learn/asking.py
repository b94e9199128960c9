"""All questions by name."""

from __future__ import annotations

from hw.spelling import check_names
from minikern.learn.question import Question
from minikern.learn.questions import cpus, early, firmware, handover, pages

QUESTIONS: dict[str, Question] = {
    question.name: question for room in (early, pages, cpus, firmware, handover) for question in room.QUESTIONS
}


def question_named(name: str) -> Question:
    """The question called ``name``. InputError for one that does not exist."""
    check_names("question", "question", [name], QUESTIONS)
    return QUESTIONS[name]


def questions_of(lesson: str) -> list[Question]:
    """The questions of one lesson, in order."""
    return [question for question in QUESTIONS.values() if question.lesson == lesson]
