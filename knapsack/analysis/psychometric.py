"""Dose and response of one run: P(correct | F) = g + (1 - g - lapse) / (1 + exp(-k (ln F - ln F50))).

F is a dose (exposures, frequency, popularity), F50 the dose at half of the way from guessing to 1 - lapse, k the slope in
ln F. The guess g is known for each question (1 / size of its pool), or is fitted within [0, MOST_GUESS]. All answers of
all checkpoints count, so that a fact's threshold lies between two evaluations by the likelihood, and a miss after it
was learned is a lapse, not a new beginning.
"""
