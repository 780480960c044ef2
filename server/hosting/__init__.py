"""The model that an operator chose: plan, load, run, switch, stop; and the abilities of this
machine and its vLLM.

`lifecycle` decides, as a pure state machine; `manager` carries out. Known models are in
`catalogue`, child processes in `processes`.
"""
