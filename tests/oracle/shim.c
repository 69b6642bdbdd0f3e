/* What a loop device lacks, for the tools under test: loaded with LD_PRELOAD by sandbox.py.
 *
 * sleep(): sgdisk waits a second after each write for slow disks; ours are not slow.
 * sync(): sfdisk and fdisk flush every disk of the machine; ours lie in memory.
 * ioctl(BLKRRPART): this kernel may be built without partition scanning and then says EINVAL. A
 * kernel with it says EBUSY when a partition is in use; sandbox.py leaves a mark for that, and reads
 * the table itself after the tool has ended.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BLKRRPART 0x125f

unsigned int sleep(unsigned int seconds) {
    (void)seconds;
    return 0;
}

void sync(void) {
}

int ioctl(int fd, unsigned long request, ...) {
    static int (*next)(int, unsigned long, void *);
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    if ((request & 0xffffffffUL) == BLKRRPART) {
        struct stat status;
        char path[64];
        if (fstat(fd, &status) == 0 && S_ISBLK(status.st_mode)) {
            snprintf(path, sizeof path, "/dev/.busy-%u-%u", major(status.st_rdev),
                     minor(status.st_rdev));
            if (access(path, F_OK) == 0) {
                errno = EBUSY;
                return -1;
            }
            return 0;
        }
    }
    if (!next)
        next = (int (*)(int, unsigned long, void *))dlsym(RTLD_NEXT, "ioctl");
    return next(fd, request, argument);
}
