/* Written by tests/worker/layout_text.py, from the Python modules: change those. */

#define INTERFACE 1
#define SLOT_BYTES 256
#define SLOT_WORDS 32
#define BODY_BYTES 208
#define BODY_WORD 5
#define LENGTH_MASK 255
#define CALLEE_SHIFT 16
#define NAMED 2048
#define PRUNED 4096
#define ID 0
#define START 1
#define PARENT 2
#define CALLEE 3
#define LOSS 4
#define THREAD 6
#define ROW_BITS 6
#define GENERATION_STEP 64
#define GENERATION_MASK 67108863
#define LOSS_SHIFT 26
#define FIRST_REMOTE 9223372036854775808ULL
#define SLOW_NS 1000000
#define SHORT 48
#define SHORT_ALONE 160
#define FEW 12
#define SUMMARY_BUDGET 196
