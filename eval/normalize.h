// normalize.h - answers in the model's own words, compared as the evaluation of SQuAD compares them (Rajpurkar et al.
// 2016, arXiv 1606.05250).
#pragma once
#include <string>

// UTF-8 text in lower case, without ASCII punctuation (what it held apart grows together: "D.C." is "dc"), without the
// words a, an and the, white space of any kind collapsed to single spaces and none at the ends.
//
// What is a letter, and its lower case, is said by the C library's locale C.UTF-8, one character at a time: a capital
// sigma becomes the same small one wherever it is. Without that locale only A-Z are lower-cased. Bytes that are no
// UTF-8 stay as they are and count as letters.
std::string normalize_answer(const std::string& text);

// A base model is not taught to stop after its answer: `continuation` is right when its words, normalised, begin with
// all the words of `answer`. An answer of which nothing is left ("The", "?") is looked for as it is, white space
// collapsed in both; an empty one is never right.
bool begins_with_answer(const std::string& continuation, const std::string& answer);

// Whether there is a locale to lower-case letters beyond ASCII with.
bool lower_cases_unicode();
