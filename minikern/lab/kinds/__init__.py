"""The kinds of algorithm that can be checked; ``registry`` lists them, ``kind`` says what each of them declares."""
