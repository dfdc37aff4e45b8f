#include "textflag.h"

// A system call right after its number is what systrap patches: sched_yield.
#define CALL MOVL $24, AX; SYSCALL
#define CALLS4 CALL; CALL; CALL; CALL
#define CALLS16 CALLS4; CALLS4; CALLS4; CALLS4
#define CALLS64 CALLS16; CALLS16; CALLS16; CALLS16

// func manyCalls()
TEXT ·manyCalls(SB), NOSPLIT, $0-0
	CALLS64
	CALLS64
	CALLS64
	RET
