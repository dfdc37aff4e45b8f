#include "textflag.h"

// Offsets in the ucontext_t that a signal handler gets in DX.
#define ucRDI 104
#define ucRAX 144
#define ucRSP 160
#define ucSigmask 296

// endSleeper is a signal handler that ends its thread when the signal came in runtime.usleep, which is nanosleep(SP, NULL), and else does nothing.
TEXT ·endSleeper(SB),NOSPLIT|NOFRAME,$0
	MOVQ ucRDI(DX), AX
	CMPQ AX, ucRSP(DX)
	JNE  back
	CMPQ ucRAX(DX), $-4 // EINTR
	JNE  back
	MOVL $60, AX // exit
	XORL DI, DI
	SYSCALL
back:
	RET

// deafen is a signal handler that has its thread block SIGCHLD when it returns, and counts.
TEXT ·deafen(SB),NOSPLIT|NOFRAME,$0
	ORQ $(1<<16), ucSigmask(DX)
	LOCK
	INCL ·deaf(SB)
	RET

// nothing is a signal handler: that the signal came ends a wait early.
TEXT ·nothing(SB),NOSPLIT|NOFRAME,$0
	RET

// sigreturn is where signal handlers return to.
TEXT ·sigreturn(SB),NOSPLIT|NOFRAME,$0
	MOVL $15, AX
	SYSCALL
	INT  $3

// func handlers() (deafen, endSleeper, nothing, sigreturn uintptr)
TEXT ·handlers(SB),NOSPLIT,$0-32
	LEAQ ·deafen(SB), AX
	MOVQ AX, deafen+0(FP)
	LEAQ ·endSleeper(SB), AX
	MOVQ AX, endSleeper+8(FP)
	LEAQ ·nothing(SB), AX
	MOVQ AX, nothing+16(FP)
	LEAQ ·sigreturn(SB), AX
	MOVQ AX, sigreturn+24(FP)
	RET
