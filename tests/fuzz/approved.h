/* What fuzz targets take as approved: rows, and the ticket for them that fuzz_approver() signed. */
#pragma once
#include "hsm/approval/ticket.h"
#include "tests/hsm/help.h"

#define APPROVED_ROWS    16
#define APPROVED_QUOTA   8
#define APPROVED_STATION "line-1"

struct approved {
    struct help_rows rows;
    struct ticket ticket;
    char *jws;
};
/* Made once, borrowed. */
const struct approved *approved(void);
