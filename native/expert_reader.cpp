// The reader threads of ExpertCache: take the next stretch of a wanted piece, read it in place, report.
#include <algorithm>

#include "clock.h"
#include "expert_cache.h"

namespace sixgig {

namespace {

constexpr uint64_t READ_BYTES = 1 << 20;  // one read: enough for full bandwidth, small enough to spread over readers

}  // namespace

void * ExpertCache::reader_main(void * self) {
    static_cast<ExpertCache *>(self)->reader_loop();
    return nullptr;
}

void ExpertCache::reader_loop() {
    mutex_.lock();
    while (!stop_) {
        Read read;
        if (!next_read(&read)) {
            work_.wait(mutex_);
            continue;
        }
        const PagedTensor & t = tensors_[read.piece.tensor];
        const uint64_t at = read.piece.expert * t.expert_bytes() + read.begin;
        mutex_.unlock();
        ReadFailure failure;
        const bool ok = files_.read(t.part, t.file_offset + at, read.size, t.data + at, &failure);
        mutex_.lock();
        finish_read(read, ok, failure);
    }
    mutex_.unlock();
}

// Chooses the next stretch to read: wanted pieces first; guesses only while the disk is otherwise idle.
bool ExpertCache::next_read(Read * read) {
    const auto take_from = [&](std::deque<PieceRef> & queue, bool urgent) {
        while (!queue.empty()) {
            const PieceRef r = queue.front();
            Piece & p = piece(r);
            const uint64_t expert_bytes = tensors_[r.tensor].expert_bytes();
            if (p.state != QUEUED || p.urgent != urgent || p.next >= expert_bytes) {
                queue.pop_front();  // cancelled, promoted or handed out already
                continue;
            }
            const uint64_t begin = p.next, file_begin = tensors_[r.tensor].file_offset + r.expert * expert_bytes;
            const uint64_t stop = page_floor(file_begin + begin + READ_BYTES) - file_begin;
            p.next = stop + READ_BYTES / 4 >= expert_bytes ? expert_bytes : stop;  // no small tail
            p.reads_in_flight++;
            wanted_in_flight_ += urgent;
            if (in_flight_++ == 0) busy_since_ = now_s();
            *read = Read{r, begin, p.next - begin, urgent};
            return true;
        }
        return false;
    };
    return take_from(wanted_, true) || (wanted_in_flight_ == 0 && take_from(speculative_, false));
}

void ExpertCache::finish_read(const Read & read, bool ok, const ReadFailure & failure) {
    Piece & p = piece(read.piece);
    const uint64_t expert_bytes = tensors_[read.piece.tensor].expert_bytes();
    p.reads_in_flight--;
    wanted_in_flight_ -= read.urgent;
    if (--in_flight_ == 0) counters_.read_s += now_s() - busy_since_;
    if (ok) {
        counters_.bytes_read += read.size;
    } else {
        p.failed = true;
        p.next = expert_bytes;
        if (p.urgent) {  // a failed guess is nobody's failure: who wants the expert reads again
            failure_ = failure;
            has_failure_ = true;
        }
    }
    if (p.reads_in_flight == 0 && p.next == expert_bytes) {
        if (p.failed) {
            drop_piece(read.piece);
        } else {
            p.state = RESIDENT;
        }
    }
    if (wanted_in_flight_ == 0 && !speculative_.empty()) work_.notify_one();
    done_.notify_all();
}

}  // namespace sixgig
