"""The help box: answers from the docs and the live counters, written by a model if the operator configured one."""
