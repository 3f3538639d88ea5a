"""The assembler says what is wrong and where; what it accepts is valid; text and program say the same."""

from __future__ import annotations

import contextlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervm_core.errors import ProgramError
from supervm_core.programs import OPERATIONS, Code, Instruction, Op, Program, assemble, disassemble

from . import ledgers
from .ledgers import SEARCH


def test_text_becomes_instructions() -> None:
    program = assemble("""
                argument r0, 0       ; how often
                set r1, 0x1_0
        again:  sub r0, r0, r1
                jump_if r0, again
        done:
    """)
    assert program.instructions == (
        Instruction(Op.ARGUMENT, 0),
        Instruction(Op.SET, 1, immediate=16),
        Instruction(Op.SUB, 0, 0, 1),
        Instruction(Op.JUMP_IF, a=0, immediate=2),
    )
    assert program.is_valid


def test_labels_may_stand_alone_share_a_place_and_mark_the_end() -> None:
    program = assemble("jump end \n first: second: jump first \n jump second \n end:")
    assert [instruction.immediate for instruction in program.instructions] == [3, 1, 1]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("stop\nsubb r0, r0, r1", 2, "there is no instruction 'subb'; did you mean 'sub'?"),
        ("\n\nfrobnicate", 3, "there is no instruction 'frobnicate'; known are stop, revert, set"),
        ("STOP", 1, "there is no instruction 'STOP'"),
        ("add r0, r1", 1, "'add' has 2 operands; write 'add dst, a, b'"),
        ("stop r0", 1, "'stop' has 1 operands; write 'stop'"),
        ("add r0, r1,", 1, "'' is no register; write r0 to r15"),
        ("move r0, r16", 1, "'r16' is no register; write r0 to r15"),
        ("move r0, r01", 1, "'r01' is no register"),
        ("move r0, 1", 1, "'1' is no register"),
        ("set r0, -1", 1, "'-1' is no number; write it as 1234, 1_234 or 0x4d2"),
        ("set r0, 1__0", 1, "'1__0' is no number; an underscore is misplaced"),
        ("set r0, 18446744073709551616", 1, "18446744073709551616 does not fit 64 bits"),
        ("argument r0, 4", 1, "there is no argument 4, only 0 to 3"),
        ("jump nowhere", 1, "there is no label 'nowhere'; write 'nowhere:' before its instruction"),
        ("jump 0", 1, "there is no label '0'"),
        ("a: stop\na: stop", 2, "label 'a' was already given; choose another name"),
        ("; nothing", None, "a program has 1 to 1024 instructions, this one 0"),
        ("stop\n" * 1025, None, "a program has 1 to 1024 instructions, this one 1025"),
    ],
)
def test_assembler_names_the_line_and_the_remedy(text: str, line: int | None, message: str) -> None:
    with pytest.raises(ProgramError) as refusal:
        assemble(text)
    assert refusal.value.line == line
    assert message in str(refusal.value)
    assert str(refusal.value).startswith(f"line {line}: ") == (line is not None)


@settings(SEARCH, max_examples=300)
@given(st.randoms(use_true_random=False))
def test_disassembled_program_assembles_to_itself(choose: Random) -> None:
    program = ledgers.program(choose)
    if program.is_valid:
        assert assemble(disassemble(program)) == program
    else:
        with pytest.raises(ProgramError, match="no text form"):
            disassemble(program)


@settings(SEARCH, max_examples=300)
@given(st.text(alphabet="adjumpst r015,:;x_\n\t"))
def test_assembler_answers_any_text_with_a_valid_program_or_a_program_error(text: str) -> None:
    with contextlib.suppress(ProgramError):
        assert assemble(text).is_valid


@pytest.mark.parametrize(
    "instruction", [Instruction(256), Instruction(-1), Instruction(0, immediate=2**64), Instruction(0, b=-1)]
)
def test_what_has_no_encoding_is_no_program(instruction: Instruction) -> None:
    with pytest.raises(ProgramError, match="instruction 1 does not fit its encoding"):
        Program([Instruction(Op.STOP), instruction])


def test_flaw_names_the_instruction() -> None:
    assert Program([Instruction(Op.STOP), Instruction(99)]).flaw == "instruction 1: there is no operation 99"


def test_every_operation_is_described() -> None:
    assert set(OPERATIONS) == set(Op)


def test_code_leaves_invalid_programs_out() -> None:
    code = Code.pack([assemble("set r3, 7 \n stop"), Program([]), assemble("end: jump end")])
    assert code.valid.tolist() == [1, 0, 1]
    assert code.first.tolist() == [0, 2, 2]
    assert code.last.tolist() == [2, 2, 3]
    assert code.op.tolist() == [Op.SET, Op.STOP, Op.JUMP]
    assert code.dst.tolist() == [3, 0, 0]
    assert code.immediate.tolist() == [7, 0, 0]
    assert code.gas.tolist() == [1, 1, 1]
