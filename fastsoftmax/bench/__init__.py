"""`fastsoftmax bench`, `targets`, `compare` and `report`: all that measures and what shows it.

`command` runs the first two. `cases` says what can be measured and `families` what is, `workload`
makes its arrays, `inputs` whether they are in the caches, `contestants` and `peers` are who is
measured on them. `cells` measures a case in turns that `runner` times, beside the hardware's
`limits` and with its `memory`; `rates` are what the machine can do whatever the case, `startup`
what comes before the first call. `report` shows it, `document` writes it, `results` reads that
again, `compare` judges two of them and `page` makes a page of any number. `targets` does the same
for the table in `regimes`, and `verdicts` shows what was reached. For a sample of the classes
`sampled` has the cases and arrays, `sampled_contestants` the rest; `kinds` tells the two apart.
"""
