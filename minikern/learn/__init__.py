"""Lessons that run: text in ``lessons/``, questions whose answers the emulator computes, tasks that are judged.

A lesson asks, the learner guesses, the emulator answers for the machine of this seed. Nothing in here knows an answer.
"""
