// Mutex, condition and thread over raw pthreads: std::thread and std::condition_variable would bind to the
// C++ runtime that the llama.cpp wheel carries. Nothing here has a destructor that can hang exit().
#pragma once

#include <pthread.h>

namespace sixgig {

class Mutex {
  public:
    void lock() { pthread_mutex_lock(&mutex_); }
    void unlock() { pthread_mutex_unlock(&mutex_); }

  private:
    friend class Condition;
    pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
};

class Lock {
  public:
    explicit Lock(Mutex & mutex) : mutex_(mutex) { mutex_.lock(); }
    ~Lock() { mutex_.unlock(); }
    Lock(const Lock &) = delete;
    Lock & operator=(const Lock &) = delete;

  private:
    Mutex & mutex_;
};

class Condition {
  public:
    void wait(Mutex & mutex) { pthread_cond_wait(&condition_, &mutex.mutex_); }
    void notify_all() { pthread_cond_broadcast(&condition_); }
    void notify_one() { pthread_cond_signal(&condition_); }

  private:
    pthread_cond_t condition_ = PTHREAD_COND_INITIALIZER;
};

}  // namespace sixgig
