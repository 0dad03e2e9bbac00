"""From the answers of many runs to a law with an interval, or to the reason why there is none.

    runs/NAME/answers/step_*.jsonl, results.json         table of runs (CSV or JSON)
        | runs.answers, psychometric.Cells                   | accuracy at a dose, or an F50 as measured
        v                                                    v
    study.read_study: items = (run, M, S, r, cluster, evidence of ln F50)
        |
        | evidence.py: what one run says of its threshold, as a likelihood: answers, a value with its error,
        |              or an interval (censored: not reached, below the smallest dose, between two horizons)
        v
    mixed.py: y = X b + cluster + run, the evidence inside the likelihood; t intervals, prediction of a new run
        |
        +-- dose.py     logit p = k (ln F - c + gamma ln M - (1 - beta) ln S): size law, horizon law
        |      critical.py, the same over r or M: the critical ratio, the critical size
        +-- target.py   tokens to a target: exp(a + b / r), C r^-D
        +-- loss.py     L(M) = E + A M^-alpha, and the gamma = alpha + 1 that it predicts
        +-- infusion.py ln F* = c + a ln M, out of the brackets of infusion/collapse.py (infusion_report.py)
        +-- rivals.py   other laws with as many parameters
        v
    holdout.py: the largest size, the longest horizon left out and predicted: |ln ratio|, next to two baselines
        |
        v
    reach.py: may this law be asked there?      report.py, figure.py, command.py: what a reader sees

The unit of every interval is the run, or the cluster of runs that share a trunk (or a seed); people are inside a run's
evidence. psychometric.py, one floor below, is the curve of a single run.
"""
