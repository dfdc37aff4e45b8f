#include "textflag.h"

// start is where the kernel enters this binary (go tool link -E main.start), with argc at SP: there is one thread now and no Go yet. It does
// what is cheap only as long as that is so, and then what any Go program begins with.
//
//   - The table of descriptors grows to 256. runsc puts a container's stdio on 253 to 255 (runsc/boot/loader.go, startingStdioFD), and to
//     make room for that in a process of several threads the kernel waits for an RCU grace period (fs/file.c, expand_fdtable): 10 ms and more.
//   - The bounding set of capabilities is emptied, which runsc does as the sandbox's user, one capability after the other on every thread:
//     4 ms. Nothing executed from here gets anything from it: the user is not root, and no file has capabilities.
//
// What fails here is done, or refused, by runsc's own code later.
TEXT ·start(SB),NOSPLIT|NOFRAME,$0
	MOVL  $72, AX               // fcntl(0, F_DUPFD, 255)
	XORL  DI, DI
	XORL  SI, SI
	MOVL  $255, DX
	SYSCALL
	TESTQ AX, AX
	JMI   drop
	MOVL  AX, DI
	MOVL  $3, AX                // close
	SYSCALL

drop:
	MOVL $63, R12

next:
	MOVL $157, AX               // prctl(PR_CAPBSET_DROP, R12)
	MOVL $24, DI
	MOVL R12, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	SYSCALL
	DECL R12
	JPL  next
	JMP  _rt0_amd64_linux(SB)
