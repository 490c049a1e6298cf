/* A manifest as it comes in through people's door: a file's descriptor, or one row. */
#pragma once
#include <systemd/sd-bus.h>
#include "base/err.h"
#include "base/limits.h"
#include "hsm/profile/profile.h"
#include "jobs/job.h"
#include "jobs/manifest.h"

struct profiles;
struct registry;

struct intake {
    int fd;                     /* ours */
    struct job_options options; /* borrowed from the message, or from name */
    char name[NAME_BYTES_MAX + 1], devices_profile[PROFILE_NAME_MAX + 1];
    const char *group, *profile; /* likewise */
    struct manifest manifest;
};
#define INTAKE_INIT                                                                                \
    {                                                                                              \
        .fd = -1, .options = {.name = "", .binding = "", .stations = ""}, .group = "",             \
        .profile = PROFILE_BUILTIN                                                                 \
    }

/* "ha{ss}". The descriptor must be a regular file: jobd waits for nobody's pipe. */
int intake_from_file(sd_bus_message *m, struct intake *in, struct err *e);
/* "a{ss}": column and value. */
int intake_from_row(sd_bus_message *m, struct intake *in, struct err *e);
/* "ass": devices that there are, and the re-issue job's name ("" : made up). Their rows stand for a
 * manifest, and the profile is that of the jobs they are in, which must be the same. */
int intake_from_devices(struct registry *r, sd_bus_message *m, struct intake *in, struct err *e);
/* Finds the profile, as its file is now, and reads the manifest: ERR_PROFILE, or as manifest_read(). The profile is borrowed until
 * another one is looked for. */
int intake_read(struct intake *in, struct profiles *profiles, struct err *e);
void intake_done(struct intake *in);
