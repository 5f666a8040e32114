"""The help box: answers from the docs and the live counters, by a model of the operator's choice where there is one."""
