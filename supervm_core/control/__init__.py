"""Control of the fast path, outside of its kernels: how large batches are, who is admitted, which way each takes.

Controllers change how long a batch takes and which transactions it holds, never what a batch does to the state: its
result equals the specification's in the batch's order, however it was sized and routed.
"""
